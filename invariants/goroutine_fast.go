//go:build invariants && (amd64 || arm64)

package invariants

// word reads a word of the calling goroutine's descriptor in the runtime. offset is in bytes.
func word(offset uintptr) uint64

// searched is how many bytes of a descriptor are looked at for the goroutine's id.
const searched = 256

// idOffset is where a descriptor has the goroutine's id. It depends on the version of Go, so it
// is searched for: it is the one word that is the printed id in each of several goroutines. The
// descriptor's address would be no id: a token may outlive the goroutine that took it, and the
// runtime gives the address to another goroutine.
var idOffset = findIDOffset()

func findIDOffset() uintptr {
	matches := make([]int, searched/8)
	const goroutines = 16
	done := make(chan struct{})
	for range goroutines { // one after another
		go func() {
			id := printedID()
			for i := range matches {
				if word(uintptr(i)*8) == id {
					matches[i]++
				}
			}
			done <- struct{}{}
		}()
		<-done
	}
	for i, n := range matches {
		if n == goroutines {
			return uintptr(i) * 8
		}
	}
	return searched // not found
}

// goroutine is the id of the calling goroutine, which no other one ever has.
func goroutine() uint64 {
	if idOffset == searched {
		return printedID()
	}
	return word(idOffset)
}
