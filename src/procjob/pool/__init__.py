"""The killable process pool: wire format, worker, scheduler and the executor around them."""
