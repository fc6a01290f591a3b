-- Who took this turn.
SELECT holder FROM tailsight_turns WHERE turn = {turn:UInt64} LIMIT 1
