"""Sales: what the shop sold, day by day, and the products that it sold."""
