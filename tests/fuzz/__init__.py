"""Fuzzing of everything that reads a file: damaged inputs, of which each is read whole or refused in a line.

    python -m tests.fuzz --count 20000 --seed 7              all readers
    python -m tests.fuzz --reader atlas --seed 7 --count 1000
    python -m tests.fuzz --replay FOLDER                     saved failures, one or a folder of them

`readers` lists the readers and what they are given, `seeds` makes valid inputs, the `damage_*` modules change them,
`child` reads them in a process with limits, `verdicts` judges what came out, `campaign` runs children and saves
failures.
"""
