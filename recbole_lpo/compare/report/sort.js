"use strict";
// Turns the headings of every table.sortable into buttons that sort by their column; without scripts it is a plain table.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const first = [...body.rows];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      // Numbers start with the largest, names with the first letter.
      const number = first.every((row) => row.cells[column].dataset.value !== undefined);
      const start = number ? "descending" : "ascending";
      const next = now === start ? (number ? "ascending" : "descending") : start;
      const sign = next === "ascending" ? 1 : -1;
      const value = (row) => parseFloat(row.cells[column].dataset.value);
      const sorted = [...body.rows].sort((a, b) => {
        if (!number) return sign * a.cells[column].textContent.localeCompare(b.cells[column].textContent);
        const [x, y] = [value(a), value(b)];
        // Cells without a value come last, whatever the direction.
        return isNaN(x) - isNaN(y) || sign * (x - y) || 0;
      });
      body.append(...sorted);
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", next);
    });
  });
}
