"""Benchmarks: what the library promises of speed and memory, measured beside its peers.

``cases/`` says what is measured, a file for each question; ``sides/`` and ``training/`` make the two sides of each
case. ``run`` starts a process for each (``one``), which compares what both mean (``same``), searches their programs for
copies (``compiled``) and times them (``timing``, ``machine``); ``page`` and ``charts`` write down what was found.
``against`` puts an older version of the library beside this one. ``gates``, ``packing``, ``segment_formats``,
``sharded`` and ``trajectories`` are studies of their own, run by name; ``check_tpu`` is ``make check-tpu``.
"""
