"""What must outlive a request or be shared by workers."""
