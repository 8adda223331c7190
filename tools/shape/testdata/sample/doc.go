// Package sample has a top and a ground.
//
//	top.go     calls the ground
//	ground.go  is called, and calls back once
package sample
