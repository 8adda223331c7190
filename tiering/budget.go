package tiering

import "time"

// budget is a number of bytes a second, which what is taken is paid with. One read may overdraw
// it, however large; the next one waits until that is paid. What is not used is not saved up.
type budget struct {
	rate int64     // bytes a second
	paid time.Time // when all that was taken is paid
}

// wait is how long it takes until something may be taken; 0: at once. No budget is unlimited.
func (b *budget) wait(now time.Time) time.Duration {
	if b == nil {
		return 0
	}
	return max(0, b.paid.Sub(now))
}

// take takes bytes; a negative number gives back what was not used.
func (b *budget) take(now time.Time, bytes int64) {
	if b == nil {
		return
	}
	if b.paid.Before(now) {
		b.paid = now
	}
	b.paid = b.paid.Add(time.Duration(float64(bytes) / float64(b.rate) * float64(time.Second)))
}

// newBudget is nil, without a limit, for a rate that is not positive.
func newBudget(rate int64) *budget {
	if rate <= 0 {
		return nil
	}
	return &budget{rate: rate}
}
