"""What ``armillary diff`` finds of changes that are known, how often it is wrong, and from which size on."""
