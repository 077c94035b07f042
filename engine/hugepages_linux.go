package engine

import (
	"syscall"
	"unsafe"
)

// inHugePages asks the kernel to lay a large array, that has just been made, in
// pages of megabytes. Questions read rows at random all over it, and with pages of
// 4 KiB each look at a row waits for the page tables as well. It is a hint: where
// it is not taken, everything is as it was.
func inHugePages[T any](array []T) {
	const page = 4096
	from := uintptr(unsafe.Pointer(unsafe.SliceData(array)))
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(array))), uintptr(len(array))*unsafe.Sizeof(array[0]))
	skip := -from & (page - 1)
	if uintptr(len(bytes)) < hugePage+skip {
		return
	}
	bytes = bytes[skip:]
	_ = syscall.Madvise(bytes[:len(bytes)&^(page-1)], syscall.MADV_HUGEPAGE)
}

const hugePage = 2 << 20
