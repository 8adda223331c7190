//go:build invariants && (amd64 || arm64)

package invariants

// word reads a word of the calling goroutine's descriptor in the runtime. offset is in bytes.
func word(offset uintptr) uint64

// searched is the number of descriptor bytes in which the goroutine's id is searched.
const searched = 256

// idOffset is the position of the goroutine's id in its descriptor, in bytes. It depends on the
// version of Go, so it is searched for: it is the one word that equals the printed id in each of
// several goroutines. The descriptor's address cannot serve as an id: a token may outlive the
// goroutine that took it, and the runtime reuses the address for another goroutine.
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

// goroutine returns the id of the calling goroutine. Ids are never reused.
func goroutine() uint64 {
	if idOffset == searched {
		return printedID()
	}
	return word(idOffset)
}
