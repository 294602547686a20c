"""What the tests share: cases, claims, laws, orders, parity, the papers, golden numbers."""
