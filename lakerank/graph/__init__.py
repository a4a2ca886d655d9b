"""PageRank and its engines, centralities and the link-spam defence; only `store` touches storage."""
