package broker

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// maxSendfile is how much one sendfile(2) is asked for. The call ends when the socket's buffer is
// full, so this only bounds how long a disk can block a thread.
const maxSendfile = 4 << 20

// sendfile lets the kernel send n bytes of file from pos on, without a copy through this process.
// If that is not possible, handled is false and nothing is sent: the connection is not plain TCP,
// or the file system does not support it.
//
// (*net.TCPConn).ReadFrom does not work for a file that many readers share: it reads from the
// file's own position.
func sendfile(w io.Writer, file *os.File, pos, n int64) (sent int64, handled bool, err error) {
	conn, ok := w.(*net.TCPConn)
	if !ok || file == nil {
		return 0, false, nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false, nil //nolint:nilerr // the copy will meet the same error
	}
	in := int(file.Fd())
	var failure error
	err = raw.Write(func(out uintptr) (done bool) {
		for sent < n {
			at := pos + sent
			var k int
			k, failure = syscall.Sendfile(int(out), in, &at, int(min(n-sent, maxSendfile)))
			switch {
			case k > 0:
				sent += int64(k)
			case failure == nil: // the file ends before the range does
				failure = io.ErrUnexpectedEOF
				return true
			case errors.Is(failure, syscall.EINTR):
			case errors.Is(failure, syscall.EAGAIN):
				return false // the poller calls again when there is room, or the deadline passes
			default:
				return true
			}
		}
		failure = nil
		return true
	})
	if err == nil {
		err = failure
	}
	if sent == 0 && (errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSYS)) {
		return 0, false, nil
	}
	return sent, true, err
}
