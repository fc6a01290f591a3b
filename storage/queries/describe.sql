-- What columns a table has, whoever made it. The engine describes; there is nothing to limit.
DESCRIBE TABLE {database:Identifier}.{table:Identifier}
