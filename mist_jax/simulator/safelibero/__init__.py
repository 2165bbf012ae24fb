"""SafeLIBERO's official files, in a folder of the user's own."""
