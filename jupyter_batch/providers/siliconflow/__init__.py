"""SiliconFlow."""
