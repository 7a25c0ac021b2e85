"""Help for the tests of projects: an app that needs no server, a worker in a thread of the test's process."""
