module github.com/varvelog/varve/tools/mutants

go 1.26.7
