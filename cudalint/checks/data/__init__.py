"""Rules about the input pipeline and transfers to the device."""
