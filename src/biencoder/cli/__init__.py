"""The commands: each reads its arguments, calls one library function and prints what that returns."""
