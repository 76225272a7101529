package acme

import "github.com/caddyserver/certmagic"

// Storage keeps accounts, certificates and their keys, and locks, so that those
// who share it do things once. Keys of certificates are in it as they are: whoever
// reads it can pretend to be the gateway.
type Storage = certmagic.Storage

// Disk returns a Storage of files in a directory, which is made when something
// is kept there. Gateways on one machine, or with one file system, may share it.
func Disk(dir string) Storage { return &certmagic.FileStorage{Path: dir} }
