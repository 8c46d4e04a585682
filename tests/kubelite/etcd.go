// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

const (
	etcdStart   = 60 * time.Second
	walSegment  = 8 << 20 // preallocated twice; upstream's 64 MB make 128 MB for each test
	socketLimit = 107     // of the path of a unix socket, in bytes
)

// startEtcd runs an etcd of one member and returns once it serves. listen is "unix:///PATH" or
// "http://127.0.0.1:PORT". Without fsync the data outlive a killed process, not a lost machine.
// The caller has dir to itself: a socket that is left at PATH is replaced.
func startEtcd(dir, listen string, fsync bool) (*embed.Etcd, error) {
	client, err := url.Parse(listen)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	// With one member nobody dials what it advertises; etcd wants host and port all the same.
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:2380"}
	advertised := *client
	if client.Scheme == "unix" {
		advertised = peer
		if len(client.Path) > socketLimit {
			return nil, fmt.Errorf("etcd: the path of its socket is too long, take a shorter -dir: %s", client.Path)
		}
		if err := os.Remove(client.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("etcd: %w", err)
		}
	}
	wal.SegmentSizeBytes = walSegment
	config := embed.NewConfig()
	config.Name = "kubelite"
	config.Dir = dir
	config.LogLevel = "warn"
	config.LogOutputs = []string{"stderr"}
	config.UnsafeNoFsync = !fsync
	config.TickMs, config.ElectionMs = 50, 500
	config.QuotaBackendBytes = 1 << 30
	config.SocketOpts.ReuseAddress = false
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{advertised}
	config.ListenPeerUrls, config.AdvertisePeerUrls = nil, []url.URL{peer}
	config.InitialCluster = config.Name + "=" + peer.String()
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err = <-etcd.Err():
	case <-time.After(etcdStart):
		err = fmt.Errorf("not ready after %v", etcdStart)
	}
	etcd.Close()
	return nil, fmt.Errorf("etcd: %w", err)
}

// stateDir makes the state directory and locks it until the process ends.
func stateDir(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("-dir is needed")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	lock, err := syscall.Open(filepath.Join(dir, "lock"), syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return "", fmt.Errorf("%s/lock: %w", dir, err)
	}
	if err := syscall.Flock(lock, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return "", fmt.Errorf("another kubelite uses %s: %w", dir, err)
	}
	return dir, nil
}

func socketIn(dir string) string { return "unix://" + filepath.Join(dir, "etcd.sock") }

func cmdEtcd(args []string) int {
	flags := flag.NewFlagSet("etcd", flag.ExitOnError)
	dir := flags.String("dir", "", "state directory; the data are in DIR/etcd")
	listen := flags.String("listen", "", "client URL (default unix://DIR/etcd.sock)")
	fsync := flags.Bool("fsync", false, "make each write durable")
	flags.Parse(args) // ends the process on an error
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	state, err := stateDir(*dir)
	if err != nil {
		return fail(fmt.Errorf("etcd: %w", err))
	}
	if *listen == "" {
		*listen = socketIn(state)
	}
	etcd, err := startEtcd(filepath.Join(state, "etcd"), *listen, *fsync)
	if err != nil {
		return fail(err)
	}
	defer etcd.Close()
	fmt.Println("READY", *listen)
	select {
	case <-signals:
		return 0
	case err := <-etcd.Err():
		return fail(fmt.Errorf("etcd: %w", err))
	}
}
