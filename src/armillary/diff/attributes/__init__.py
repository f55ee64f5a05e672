"""How answers read: attributes that fixed rules can check, without a judge."""
