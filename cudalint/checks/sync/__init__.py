"""Rules about hot code that makes the host wait for the device."""
