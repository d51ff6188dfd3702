"""What REST and the command line both call: one function per request, inside the caller's transaction."""
