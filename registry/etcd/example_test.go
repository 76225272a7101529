package etcd_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/etcd"
)

// A service is announced on a server within the program, and found.
func Example() {
	if err := run(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: greeter at 127.0.0.1:9090
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = anyPort, anyPort
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = anyPort, anyPort
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer server.Close()
	<-server.Server.ReadyNotify()

	reg, err := etcd.Open(ctx, &url.URL{Scheme: "etcd", Host: server.Clients[0].Addr().String()}, nil)
	if err != nil {
		return err
	}
	defer reg.Close()
	greeter := &registry.Service{Name: "greeter", Nodes: []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:9090"}}}
	if err := reg.Register(ctx, greeter, 30*time.Second); err != nil {
		return err
	}
	w, err := reg.Watch(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	services, err := w.Next(ctx)
	if err != nil {
		return err
	}
	for _, s := range services {
		fmt.Println(s.Name, "at", s.Nodes[0].Address)
	}
	return nil
}
