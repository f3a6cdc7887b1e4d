"""From environments and episodes to rows."""
