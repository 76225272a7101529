package etcd_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

const (
	password = "pa:ss/word"
	escaped  = "pa%3Ass%2Fword"
)

// TestUser: who is in the URL is who etcd lets in, and no error shows the
// password.
func TestUser(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	s.enableAuth()
	tests := []struct {
		user, want string
	}{
		{"", "wants a user; add user@ and password_file to the URL"},
		{"gateway:secret@", "refuses the user or the password"},
		{"nobody:secret@", "refuses the user or the password"},
		{"stranger:" + escaped + "@", "the user may not use /micro/registry/; grant it"},
	}
	for _, tt := range tests {
		r, err := tryOpen(t.Context(), "etcd://"+tt.user+s.addr, nil)
		if err == nil {
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), s.addr) {
			t.Errorf("Open() as %q error = %v, want %q", tt.user, err, tt.want)
			continue
		}
		if errors.Is(err, registry.ErrUnavailable) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), password) {
			t.Errorf("Open() as %q error = %v, want neither ErrUnavailable nor the password", tt.user, err)
		}
	}
	reader := open(t, "etcd://reader:"+escaped+"@"+s.addr)
	if err := reader.Register(t.Context(), registrytest.Greeter("1"), 0); err == nil || !strings.Contains(err.Error(), "may not use") {
		t.Errorf("Register() by who may only read error = %v, want one that says so", err)
	}
}

// TestTokenExpires: nobody notices.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	root := s.enableAuth()
	p := registrytest.NewProxy(t, s.addr)
	r := open(t, "etcd://gateway:"+escaped+"@"+p.Address())
	registrytest.Register(t, r, registrytest.Greeter("1"), time.Minute)
	w := registrytest.Watch(t, r)
	w.Await("a node", registrytest.HasNodes("1"))
	expire := func() {
		t.Helper()
		if _, err := root.UserChangePassword(t.Context(), "gateway", password); err != nil { // ends all tokens of the user
			t.Fatal(err)
		}
	}
	expire()
	registrytest.Register(t, r, registrytest.Greeter("2"), time.Minute)
	w.Await("a new node", registrytest.HasNodes("1", "2"))
	expire()
	registrytest.Register(t, r, registrytest.Greeter("2"), time.Minute)
	expire()
	if got, err := r.Get(t.Context(), "greeter"); err != nil || !registrytest.HasNodes("1", "2")(got) {
		t.Errorf("Get() with a token that has expired = %v, %v, want the nodes", got, err)
	}
	restore := p.Sever()
	w.AwaitLoss()
	expire()
	restore()
	registrytest.Register(t, open(t, "etcd://gateway:"+escaped+"@"+s.addr), registrytest.Greeter("3"), 0)
	w.Await("what happened meanwhile", registrytest.HasNodes("1", "2", "3"))
}

// TestPasswordFile: a password that is exchanged while we run is read again.
func TestPasswordFile(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	root := s.enableAuth()
	file := filepath.Join(t.TempDir(), "password")
	save := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	save(password)
	r := open(t, "etcd://gateway@"+s.addr+"?password_file="+file)
	registrytest.Register(t, r, registrytest.Greeter("1"), time.Minute)
	w := registrytest.Watch(t, r)
	w.Await("a node", registrytest.HasNodes("1"))
	if _, err := root.UserChangePassword(t.Context(), "gateway", "other"); err != nil {
		t.Fatal(err)
	}
	save("other")
	registrytest.Register(t, r, registrytest.Greeter("2"), time.Minute)
	w.Await("both nodes, with the other password", registrytest.HasNodes("1", "2"))

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := root.UserChangePassword(t.Context(), "gateway", password); err != nil {
		t.Fatal(err)
	}
	err := r.Register(t.Context(), registrytest.Greeter("2"), time.Minute)
	if !errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), "password_file: open "+file) {
		t.Errorf("Register() without the file error = %v, want ErrUnavailable and the file", err)
	}
	save(password)
	registrytest.Register(t, r, registrytest.Greeter("2"), time.Minute)
}

// TestPasswordChanges: it is wrong for now, and may be right again.
func TestPasswordChanges(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	root := s.enableAuth()
	p := registrytest.NewProxy(t, s.addr)
	r := open(t, "etcd://gateway:"+escaped+"@"+p.Address())
	w := registrytest.Watch(t, r)
	w.Await("the empty state", registrytest.HasNodes())
	if _, err := root.UserChangePassword(t.Context(), "gateway", "other"); err != nil {
		t.Fatal(err)
	}
	if err := r.Register(t.Context(), registrytest.Greeter("1"), 0); err == nil || !strings.Contains(err.Error(), "refuses the user or the password") {
		t.Errorf("Register() with a password that is wrong by now error = %v", err)
	}
	p.Sever()()
	if got, err := w.Next(bound(t, deadline)); err == nil {
		t.Errorf("Next() with a password that is wrong by now = %v, want an error", got)
	}
	if _, err := root.UserChangePassword(t.Context(), "gateway", password); err != nil {
		t.Fatal(err)
	}
	registrytest.Register(t, open(t, "etcd://gateway:"+escaped+"@"+s.addr), registrytest.Greeter("1"), 0)
	w.Await("a node", registrytest.HasNodes("1"))
}

// enableAuth makes the server want a user: gateway, reader, stranger or root,
// as whom it returns a client.
func (s *server) enableAuth() *clientv3.Client {
	s.t.Helper()
	c := client(s.t, clientv3.Config{Endpoints: []string{s.addr}})
	ctx := bound(s.t, deadline)
	const end = "/micro/registry0"
	var errs []error
	do := func(_ any, err error) { errs = append(errs, err) }
	for user, may := range map[string]clientv3.PermissionType{"gateway": clientv3.PermissionType(clientv3.PermReadWrite), "reader": clientv3.PermissionType(clientv3.PermRead)} {
		do(c.RoleAdd(ctx, user))
		do(c.RoleGrantPermission(ctx, user, "/micro/registry/", end, may))
		do(c.UserAdd(ctx, user, password))
		do(c.UserGrantRole(ctx, user, user))
	}
	do(c.UserAdd(ctx, "stranger", password))
	do(c.UserAdd(ctx, "root", password))
	do(c.UserGrantRole(ctx, "root", "root"))
	do(c.AuthEnable(ctx))
	if err := errors.Join(errs...); err != nil {
		s.t.Fatalf("enabling users: %v", err)
	}
	return client(s.t, clientv3.Config{Endpoints: []string{s.addr}, Username: "root", Password: password})
}
