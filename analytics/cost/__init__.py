"""What the GPUs cost, split to the last nano-dollar: over requests, idle by cause, and overhead."""
