package main

import (
	"context"
	"net"
	"os/user"
	"strconv"
	"syscall"
)

type peerKey struct{}

// withPeer notes which of the operating system's users opened a connection to the
// socket: the kernel says so, whatever the client claims.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return ctx
	}
	var creds *syscall.Ucred
	var credsErr error
	err = raw.Control(func(fd uintptr) {
		creds, credsErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil || credsErr != nil {
		return ctx
	}
	name := strconv.FormatUint(uint64(creds.Uid), 10)
	if who, err := user.LookupId(name); err == nil {
		name = who.Username
	}
	return context.WithValue(ctx, peerKey{}, name)
}

// peer is the user whom withPeer noted.
func peer(ctx context.Context) string {
	if name, ok := ctx.Value(peerKey{}).(string); ok {
		return name
	}
	return "unknown"
}
