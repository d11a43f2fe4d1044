"""What happens when something breaks: every long-running command, in small, is stopped, starved and fed bad things.

    python benchmarks/faults/kills.py     kill -9 at random moments, then the same call again; children of the dead;
                                          parts that have become stale
    python benchmarks/faults/writes.py    each write of a run fails once; full and read-only disks; unreadable input;
                                          a worker killed for memory; Ctrl-C once and twice
    python benchmarks/faults/fuzz.py      wrong files, thousands for each reader
    python benchmarks/faults/load.py      `serve` under 50 clients, slow ones, 1,000 idle connections, 2,000 requests
    python benchmarks/faults/many.py      10,000 photographs: memory, rate, a kill half-way
    python benchmarks/faults/determinism.py   the same detections for any threads, workers, ranks, batches

Each prints a table, fault | times injected | times survived | what failed and why, and ends with status 1 if anything
failed; `--quick` is a minute's worth of it. For a killed or starved run survived means: the same call again ends with
exactly what a run that nothing befell ends with, and leaves no other file.

small_runs.py has the photographs and the commands, small_command.py runs one of them and keeps a journal of what was
done, processes.py starts, kills and counts processes, results.py compares, table.py prints. Runs are begun as copies
(fork) of a process that has imported everything, so that moments fall into the work and not into imports.
serving.py starts `serve`, and clients.py has those who ask it.
"""
