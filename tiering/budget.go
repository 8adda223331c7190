package tiering

import "time"

// budget is a rate in bytes a second. One read may overdraw it by any amount; the next one waits
// until that is paid back. Unused budget is not saved.
type budget struct {
	rate int64     // bytes a second
	paid time.Time // when everything taken is paid
}

// wait returns how long until something may be taken; 0: at once. A nil budget is unlimited.
func (b *budget) wait(now time.Time) time.Duration {
	if b == nil {
		return 0
	}
	return max(0, b.paid.Sub(now))
}

// take takes bytes; a negative number returns what was not used.
func (b *budget) take(now time.Time, bytes int64) {
	if b == nil {
		return
	}
	if b.paid.Before(now) {
		b.paid = now
	}
	b.paid = b.paid.Add(time.Duration(float64(bytes) / float64(b.rate) * float64(time.Second)))
}

// newBudget returns nil, which is unlimited, for a rate that is not positive.
func newBudget(rate int64) *budget {
	if rate <= 0 {
		return nil
	}
	return &budget{rate: rate}
}
