"""What is done to an app for the framework it runs in."""
