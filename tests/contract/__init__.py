"""What every store must do, whatever it runs on."""
