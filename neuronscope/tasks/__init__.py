"""The operations: one module per operation, shared by Python, the command line and studies."""
