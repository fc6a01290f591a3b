-- One process takes a turn: the same token is inserted once.
INSERT INTO tailsight_turns (turn, holder) SELECT {turn:UInt64}, {holder:String}
