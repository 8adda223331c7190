package calc

import "testing"

func TestSum(t *testing.T) {
	if got := Sum(4); got != 10 {
		t.Errorf("got %d", got)
	}
}

func TestClamp(t *testing.T) {
	if got, err := Clamp(7, 5); got != 5 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
}
