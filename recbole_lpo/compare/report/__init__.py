"""The page of a comparison and its figures: report.html, and PNG and SVG files for papers."""
