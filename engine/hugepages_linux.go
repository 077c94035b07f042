package engine

import (
	"syscall"
	"unsafe"
)

// hugePage is their size on the processors that Linux servers have mostly.
const hugePage = 2 << 20

// inHugePages asks the kernel to lay a large array, that has just been made, into
// huge pages. Questions read rows at random all over it, and with pages of 4 KiB
// each look at a row waits for the page tables as well. What else lies in the first
// and last page comes along. It is a hint: where it is not taken, everything is as
// it was.
func inHugePages[T any](array []T) {
	size := uintptr(len(array)) * unsafe.Sizeof(array[0])
	if size < hugePage {
		return
	}
	from := uintptr(unsafe.Pointer(unsafe.SliceData(array)))
	first := from &^ (hugePage - 1)
	last := (from + size + hugePage - 1) &^ (hugePage - 1)
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, first, last-first, syscall.MADV_HUGEPAGE)
}
