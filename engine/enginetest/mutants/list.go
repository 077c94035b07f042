package main

// mutants is the list, by file.
var mutants = []mutant{}
