// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
)

const (
	defaultControllers = "namespace-controller,serviceaccount-controller,serviceaccount-token-controller," +
		"root-ca-certificate-publisher-controller,garbage-collector-controller,clusterrole-aggregation-controller," +
		"certificatesigningrequest-signing-controller,certificatesigningrequest-approving-controller"
	readyWithin = 2 * time.Minute
	readyPoll   = 20 * time.Millisecond
	stopWithin  = 2 * time.Second      // open watches would hold a graceful stop back for a minute
	stopping    = "kubelite: stopping" // a line of the log; what follows is of no interest to a failed test
)

// words is a flag that may be given several times.
type words []string

func (w *words) String() string         { return strings.Join(*w, " ") }
func (w *words) Set(value string) error { *w = append(*w, value); return nil }

// upOptions is the command line of `up`.
type upOptions struct {
	dir, etcd, etcdListen, controllers, log string
	port, verbosity                         int
	fsync, dieWithParent                    bool
	apiserverFlags, controllerFlags         words
	program                                 []string
}

func parseUp(args []string) upOptions {
	var o upOptions
	flags := flag.NewFlagSet("up", flag.ExitOnError)
	flags.StringVar(&o.dir, "dir", "", "state directory; what is there (data, keys, CA) is used again")
	flags.IntVar(&o.port, "port", 0, "loopback TCP port; 0 takes a free one below the range of outgoing connections")
	flags.StringVar(&o.etcd, "etcd", "", "client URL of a running etcd, instead of one in this process")
	flags.StringVar(&o.etcdListen, "etcd-listen", "", "client URL of the etcd in this process (default unix://DIR/etcd.sock)")
	flags.BoolVar(&o.fsync, "fsync", false, "etcd makes each write durable")
	flags.StringVar(&o.controllers, "controllers", defaultControllers, "what kube-controller-manager runs; empty: nothing")
	flags.StringVar(&o.log, "log", "", "file for the logs (default DIR/kubelite.log); - is stderr")
	flags.IntVar(&o.verbosity, "v", 0, "verbosity of the logs")
	flags.Var(&o.apiserverFlags, "apiserver-flag", "one more flag of kube-apiserver (repeatable)")
	flags.Var(&o.controllerFlags, "controller-flag", "one more flag of kube-controller-manager (repeatable)")
	flags.BoolVar(&o.dieWithParent, "die-with-parent", false, "stop when the parent process has ended")
	flags.Parse(args) // ends the process on an error
	o.program = flags.Args()
	return o
}

func cmdUp(args []string) int {
	o := parseUp(args)
	stderr := os.Stderr
	code, err := func() (code int, err error) {
		if o.dieWithParent {
			if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0); err != nil {
				return 1, fmt.Errorf("-die-with-parent: %w", err)
			}
		}
		if o.dir, err = stateDir(o.dir); err != nil {
			return 1, err
		}
		if stderr, err = o.redirectLogs(); err != nil {
			return 1, err
		}
		return o.run(stderr)
	}()
	klog.Flush()
	if err != nil {
		fmt.Fprintln(stderr, "kubelite: up:", err)
	}
	return code
}

// redirectLogs makes file descriptor 2, where all components log, the log file; it returns the stderr of before.
func (o upOptions) redirectLogs() (*os.File, error) {
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged // two components configure one logger
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if err := flags.Set("v", fmt.Sprint(o.verbosity)); err != nil {
		return os.Stderr, err
	}
	if o.log == "-" {
		return os.Stderr, nil
	}
	if o.log == "" {
		o.log = filepath.Join(o.dir, "kubelite.log")
	}
	file, err := os.OpenFile(o.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return os.Stderr, err
	}
	defer file.Close()
	before, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return os.Stderr, fmt.Errorf("duplicating stderr: %w", err)
	}
	if err := unix.Dup3(int(file.Fd()), 2, 0); err != nil {
		return os.Stderr, fmt.Errorf("logs to %s: %w", o.log, err)
	}
	return os.NewFile(uintptr(before), "stderr"), nil
}

// listen opens the API server's port. One below the ephemeral range is not taken by somebody's outgoing
// connection while a test has the server stopped.
func listen(port int) (net.Listener, error) {
	if port != 0 {
		return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	}
	var err error
	for range 100 {
		var listener net.Listener
		if listener, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(22000))); err == nil {
			return listener, nil
		}
	}
	return nil, fmt.Errorf("no free port: %w", err)
}

// component runs something until its context ends; done has its result then.
func component(name string, run func() error) (done chan error) {
	done = make(chan error, 1)
	go func() {
		err := run()
		if err == nil {
			err = errors.New("it ended")
		}
		done <- fmt.Errorf("%s: %w", name, err)
	}()
	return done
}

// finish waits for what is being stopped, for as long as a test may wait.
func finish(stopped <-chan error) {
	select {
	case <-stopped:
	case <-time.After(stopWithin):
	}
}

// run starts everything, waits until it is ready, runs the program or waits for a signal, and stops
// everything; it returns the exit code, and an error if that is this program's own.
func (o upOptions) run(stderr *os.File) (int, error) {
	start := time.Now()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)

	certificates := pkiIn(o.dir)
	if err := certificates.ensure(); err != nil {
		return 1, err
	}
	store := o.etcd
	if store == "" {
		if store = o.etcdListen; store == "" {
			store = socketIn(o.dir)
		}
		etcd, err := startEtcd(filepath.Join(o.dir, "etcd"), store, o.fsync)
		if err != nil {
			return 1, err
		}
		defer func() { finish(component("etcd", func() error { etcd.Close(); return nil })) }()
	}

	listener, err := listen(o.port)
	if err != nil {
		return 1, err
	}
	server := "https://" + listener.Addr().String()
	if err := certificates.kubeconfigs(server, "admin", "controller-manager"); err != nil {
		return 1, err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	ctx, cancel := context.WithCancel(context.Background())
	api := component("kube-apiserver", func() error {
		return runAPIServer(ctx, listener, append(apiserverArguments(certificates, store), o.apiserverFlags...))
	})
	// Asked to stop while it starts, the API server ends the whole process; it is left alone then.
	graceful := false
	defer func() {
		fmt.Fprintln(os.Stderr, stopping)
		if graceful {
			cancel()
			finish(api)
		}
	}()
	ready := readiness{server: server, signals: signals, deadline: start.Add(readyWithin)}
	if ready.client, err = certificates.client(); err != nil {
		return 1, err
	}
	if code, err := ready.wait("/readyz", api); code != 0 {
		return code, err
	}

	var manager chan error
	if o.controllers != "" {
		manager = component("kube-controller-manager", func() error {
			return runControllers(ctx, append(o.controllerArguments(certificates), o.controllerFlags...))
		})
		for _, path := range o.firstObjects() {
			if code, err := ready.wait(path, manager); code != 0 {
				return code, err
			}
		}
	}
	kubeconfig := filepath.Join(o.dir, "admin.kubeconfig")
	fmt.Printf("READY %s kubeconfig=%s etcd=%s seconds=%.2f\n", server, kubeconfig, store, time.Since(start).Seconds())

	graceful = true
	program, exited, err := o.start(stderr, certificates, server, kubeconfig)
	if err != nil {
		return 1, err
	}
	select {
	case err := <-exited:
		return exitCode(err)
	case received := <-signals:
		if program == nil {
			return 0, nil
		}
		stop(program, received, exited, signals)
		return 128 + int(received.(syscall.Signal)), nil
	case err = <-api:
		graceful = false // it ended by itself
	case err = <-manager:
	}
	if program != nil {
		stop(program, syscall.SIGTERM, exited, signals)
	}
	return 1, err
}

// start runs the command line's program, if there is one, and says on the channel how it ended.
func (o upOptions) start(stderr *os.File, p pki, server, kubeconfig string) (*os.Process, <-chan error, error) {
	if len(o.program) == 0 {
		return nil, nil, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	command := exec.Command(o.program[0], o.program[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, stderr
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "KUBELITE="+self, "KUBELITE_URL="+server,
		"KUBELITE_DIR="+o.dir, "KUBELITE_CA="+p.path("ca.crt"), "KUBELITE_CERT="+p.path("admin.crt"),
		"KUBELITE_KEY="+p.path("admin.key"))
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := command.Start(); err != nil {
		return nil, nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	return command.Process, exited, nil
}

// stop passes a signal on to the program and waits for its end; one more signal kills it.
func stop(program *os.Process, received os.Signal, exited <-chan error, signals <-chan os.Signal) {
	if err := program.Signal(received); err != nil && !errors.Is(err, os.ErrProcessDone) {
		fmt.Fprintln(os.Stderr, "kubelite: up:", err)
	}
	select {
	case <-exited:
	case <-signals:
		_ = program.Kill() // it may have ended meanwhile
		<-exited
	}
}

// exitCode is that of the program, as a shell gives it.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		if err != nil {
			return 1, err
		}
		return 0, nil
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), fmt.Errorf("the program was ended by signal %d", status.Signal())
	}
	return exit.ExitCode(), nil
}

func apiserverArguments(p pki, store string) []string {
	return []string{
		"--etcd-servers=" + store,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none", // a loopback address is no valid endpoint
		"--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=RBAC",
		"--client-ca-file=" + p.path("ca.crt"),
		"--tls-cert-file=" + p.path("apiserver.crt"),
		"--tls-private-key-file=" + p.path("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-signing-key-file=" + p.path("sa.key"),
		"--service-account-key-file=" + p.path("sa.pub"),
		"--profiling=false",
	}
}

func (o upOptions) controllerArguments(p pki) []string {
	return []string{
		"--kubeconfig=" + filepath.Join(o.dir, "controller-manager.kubeconfig"),
		"--controllers=" + o.controllers,
		"--leader-elect=false",
		"--secure-port=0",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + p.path("sa.key"),
		"--root-ca-file=" + p.path("ca.crt"),
		"--cluster-signing-cert-file=" + p.path("ca.crt"),
		"--cluster-signing-key-file=" + p.path("ca.key"),
		"--kube-api-qps=500", "--kube-api-burst=1000",
	}
}

// firstObjects are what the controllers make in a new cluster: once they are there, the controllers work.
func (o upOptions) firstObjects() (paths []string) {
	runs := func(name string) bool {
		return o.controllers == "*" || strings.Contains(","+o.controllers+",", ","+name+",")
	}
	if runs("serviceaccount-controller") {
		paths = append(paths, "/api/v1/namespaces/default/serviceaccounts/default")
	}
	if runs("root-ca-certificate-publisher-controller") {
		paths = append(paths, "/api/v1/namespaces/default/configmaps/kube-root-ca.crt")
	}
	return paths
}

// readiness waits for the API server to answer with 200.
type readiness struct {
	server   string
	client   *http.Client
	signals  <-chan os.Signal
	deadline time.Time
}

// wait returns 0 once there is an answer at path; else the exit code, and what prevented it.
func (r readiness) wait(path string, failed <-chan error) (int, error) {
	for {
		answer := r.get(path)
		if answer == nil {
			return 0, nil
		}
		select {
		case err := <-failed:
			return 1, err
		case received := <-r.signals:
			return 128 + int(received.(syscall.Signal)), nil
		case <-time.After(readyPoll):
		}
		if time.Now().After(r.deadline) {
			return 1, fmt.Errorf("not ready after %v: %s: %w", readyWithin, path, answer)
		}
	}
}

func (r readiness) get(path string) error {
	response, err := r.client.Get(r.server + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	return errors.Join(fmt.Errorf("%s: %s", response.Status, body), err)
}

// client is the administrator's.
func (p pki) client() (*http.Client, error) {
	ca, err := os.ReadFile(p.path("ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s has no certificate", p.path("ca.crt"))
	}
	certificate, err := tls.LoadX509KeyPair(p.path("admin.crt"), p.path("admin.key"))
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}}
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: config}}, nil
}
