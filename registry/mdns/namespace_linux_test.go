package mdns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// inNamespace is set in the environment of the process that runs the tests.
const inNamespace = "GOAPI_TEST_NAMESPACE"

// alone runs the tests in a process of its own, whose network has a loopback
// with multicast and nothing else. It takes no privilege: the process is root of
// a namespace of its own.
func alone(run func(), exit func(code int)) {
	if os.Getenv(inNamespace) != "" {
		if err := loopback(true); err != nil {
			fmt.Fprintln(os.Stderr, "setting up the loopback of the test's network:", err)
			exit(1)
		}
		run()
		return
	}
	err := inNewNamespace(syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		err = inNewNamespace(syscall.CLONE_NEWNET) // root may, where user namespaces are turned off
	}
	var ended *exec.ExitError
	switch {
	case err == nil:
		exit(0)
	case errors.As(err, &ended):
		exit(max(1, ended.ExitCode()))
	}
	fmt.Fprintln(os.Stderr, "these tests need a network namespace, and the system gives none, "+
		"neither with a user namespace nor as root:", err)
	exit(1)
}

// inNewNamespace runs this program again.
func inNewNamespace(flags uintptr) error {
	runtime.LockOSThread() // whose end is the child's
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if flags&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return cmd.Run()
}

// loopback brings the loopback up, with multicast of both IP versions, or down.
func loopback(up bool) error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	index := uint32(lo.Index)
	flags := uint32(syscall.IFF_MULTICAST)
	if up {
		flags |= syscall.IFF_UP
	}
	link := []byte{syscall.AF_UNSPEC, 0, 0, 0}
	for _, n := range []uint32{index, flags, syscall.IFF_UP | syscall.IFF_MULTICAST} {
		link = binary.NativeEndian.AppendUint32(link, n)
	}
	if err := netlink(syscall.RTM_NEWLINK, 0, link); err != nil || !up {
		return err
	}
	// The system adds this route by itself to all interfaces but this.
	route := []byte{syscall.AF_INET6, 8, 0, 0, syscall.RT_TABLE_LOCAL, syscall.RTPROT_STATIC, syscall.RT_SCOPE_UNIVERSE, syscall.RTN_LOCAL, 0, 0, 0, 0}
	route = append(route, attribute(syscall.RTA_DST, net.ParseIP("ff00::"))...)
	route = append(route, attribute(syscall.RTA_OIF, binary.NativeEndian.AppendUint32(nil, index))...)
	err = netlink(syscall.RTM_NEWROUTE, syscall.NLM_F_CREATE, route)
	if errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return err
}

func attribute(kind uint16, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	return append(binary.NativeEndian.AppendUint16(b, kind), data...)
}

// netlink has the kernel do what a message says.
func netlink(kind, flags uint16, payload []byte) error {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	b := binary.NativeEndian.AppendUint32(nil, uint32(16+len(payload)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags|syscall.NLM_F_REQUEST|syscall.NLM_F_ACK)
	b = append(b, make([]byte, 8)...) // sequence and port
	if err := syscall.Sendto(fd, append(b, payload...), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := syscall.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < 20 {
		return errors.New("netlink: short answer")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[16:])); code != 0 {
		return fmt.Errorf("netlink message %d: %w", kind, syscall.Errno(-code))
	}
	return nil
}
