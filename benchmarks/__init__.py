"""`python -m benchmarks`: our path and RecBole's in one run, on the same data and machine, in one table.

Not part of the installed package. `cases` says what is measured, `measure` how; every measurement is a process of its
own (`worker`, `processes`), started in turns by `schedule`, or taking its steps in turns (`turns`); `results` keeps
them and `table` shows them.
"""
