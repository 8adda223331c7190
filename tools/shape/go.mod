module github.com/varvelog/varve/tools/shape

go 1.26.7
