"""An encoder as data: what its directory says, as a packed graph and as plain arithmetic."""
