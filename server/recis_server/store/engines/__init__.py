"""The databases that a store can be kept in: connections, schema, files, locks and what they fail of."""
