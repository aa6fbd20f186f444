package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
)

// gueFaults are those of a director that tunnels over UDP, by GUE or FOU.
func gueFaults() []Scenario {
	const other = "5555" // a director may use any port
	noPort := both(Loss{Fate: "rejected", Functions: udpReceive, Reasons: noSocket, Dev: "eth0", Reject: "icmp 3/3"})
	asFOU := gueFault("tunnel-gue-fou", "The director tunnels by GUE, and the kernel of the real server unpacks FOU behind that port.", "tunnel-mode-mismatch", other,
		both(Loss{Fate: "dropped", Functions: atHeader, Reasons: []string{"IP_INHDR"}, Dev: "tunl0"}), fouPort(other, "ipproto", "4"))
	asFOU.Traffic = short(expect(lab.TimedOut))
	return []Scenario{
		gueFault("tunnel-gue-port", "The director tunnels by GUE, and the real server has another port for that.", "tunnel-mode-mismatch", "6080",
			noPort, fouPort("6081", "gue")),
		gueFault("tunnel-gue-other-port", "The director tunnels by GUE to a port of its own choice, and the real server has the usual one.", "tunnel-mode-mismatch", other,
			noPort, fouPort("6080", "gue")),
		gueFault("tunnel-gue-local", "The director tunnels by GUE, and the real server's port is one of the VIP, inside the tunnel, alone.", "tunnel-mode-mismatch", "6080",
			noPort, fouPort("6080", "gue", "local", lab.VIP.String())),
		gueFault("tunnel-gue-down", "The director tunnels by GUE, the real server has the port, and tunl0 is down.", "tunnel-device-down", "6080",
			both(Loss{Fate: "rejected", Functions: noTunnel, Reasons: unnamed, Dev: "eth0", Reject: "icmp 3/3"}), fouPort("6080", "gue"), linkDown(lab.RealServer, "tunl0")),
		asFOU,
		{
			Name: "tunnel-gue-program", Summary: "The director tunnels by GUE, and behind that port of the real server a program listens, for something else.", Code: "tunnel-mode-mismatch", Notice: true, WholeMachine: true,
			Inject:  append([]lab.Step{noFOU(other), program(5555)}, tunnelBy("--tun-type", "gue", "--tun-port", other)...),
			Undo:    append([]lab.Step{sendBy(ipvs.ConnectionFlagTunnel)}, again()...),
			Traffic: short(expect(lab.TimedOut)), Losses: both(Loss{Fate: "delivered", Notice: "tunnel-mode-mismatch"}),
		},
		{
			Name: "tunnel-fou", Summary: "The director's own tunnel is one of FOU, and the real server has no port for that.", Code: "tunnel-mode-mismatch", WholeMachine: true,
			Inject: append([]lab.Step{load("fou"), noFOU(other)}, sendByFOU(other)...), Undo: append(noFOUDevice(), noFOU(other), unloadAgain("fou")),
			Traffic: short(expect(lab.TimedOut)), Losses: noPort,
		},
	}
}

// healthyGUE are tunnels over UDP that the real server unpacks.
func healthyGUE() []Scenario {
	gue := func(name, summary, port string) Scenario {
		return twin(name, summary, append(tunnelBy("--tun-type", "gue", "--tun-port", port), load("fou"), noFOU(port), fouPort(port, "gue")),
			[]lab.Step{sendBy(ipvs.ConnectionFlagTunnel), noFOU(port), unloadAgain("fou")})
	}
	fou := twin("fou", "The director's own tunnel is one of FOU, and the real server has its port.",
		append([]lab.Step{load("fou"), noFOU("5555"), fouPort("5555", "ipproto", "4")}, sendByFOU("5555")...),
		append(noFOUDevice(), noFOU("5555"), unloadAgain("fou")))
	all := []Scenario{
		gue("gue", "The director tunnels by GUE, and the real server has its port.", "6080"),
		gue("gue-port", "The director tunnels by GUE to a port of its own choice, and the real server has that.", "5555"),
		fou,
	}
	for i := range all {
		all[i] = small(all[i])
		all[i].WholeMachine = true
	}
	return all
}

// gueFault is one of a director that tunnels by GUE to a port. Requests fit into its longer headers.
func gueFault(name, summary, code, port string, losses []Loss, inject ...lab.Step) Scenario {
	none := []lab.Step{noFOU("6080"), noFOU("6081"), noFOU("5555")}
	return Scenario{
		Name: name, Summary: summary, Code: code, WholeMachine: true,
		Inject: slices.Concat([]lab.Step{load("fou")}, none, inject, tunnelBy("--tun-type", "gue", "--tun-port", port)),
		Undo: slices.Concat([]lab.Step{sendBy(ipvs.ConnectionFlagTunnel)}, none,
			[]lab.Step{unloadAgain("fou"), linkUp(lab.RealServer, "tunl0"), giveAddr(lab.RealServer, "tunl0", lab.VIP)}),
		Traffic: short(expect(lab.Refused)), Losses: losses,
	}
}

// behindFOU is an address to which only the director's device of FOU leads. IPVS has no FOU of its own.
const behindFOU = "10.98.0.1"

// sendByFOU has IPVS route what it sends into that device.
func sendByFOU(port string) []lab.Step {
	return []lab.Step{
		linkGone(lab.Director, "fou0"),
		run(lab.Director, "ip", "link", "add", "fou0", "type", "ipip", "local", lab.DirectorAddr.String(), "remote", lab.RealServerAddr.String(),
			"encap", "fou", "encap-sport", "auto", "encap-dport", port),
		linkUp(lab.Director, "fou0"),
		run(lab.Director, "ip", "route", "replace", behindFOU, "dev", "fou0"),
		unless("exists", run(lab.Director, "ipvsadm", "-a", "-t", lab.VIP.String()+":80", "-r", behindFOU+":80", "-g")),
		unless("exists", run(lab.Director, "ipvsadm", "-a", "-u", lab.VIP.String()+":80", "-r", behindFOU+":80", "-g")),
		weigh(0),
	}
}

func noFOUDevice() []lab.Step {
	return []lab.Step{
		weigh(1),
		unless("No such", run(lab.Director, "ipvsadm", "-d", "-t", lab.VIP.String()+":80", "-r", behindFOU+":80")),
		unless("No such", run(lab.Director, "ipvsadm", "-d", "-u", lab.VIP.String()+":80", "-r", behindFOU+":80")),
		linkGone(lab.Director, "fou0"),
	}
}

// short leaves requests so short that they fit into every kind of tunnel.
func short(all []lab.Traffic) []lab.Traffic {
	for i := range all {
		all[i].Request = 200
	}
	return all
}

// fouPort gives the real server a port behind which the kernel unpacks tunnels.
func fouPort(port string, words ...string) lab.Step {
	return run(lab.RealServer, append([]string{"ip", "fou", "add", "port", port}, words...)...)
}

// program is one on the real server that reads what comes to a UDP port.
func program(port int) lab.Step {
	return held(lab.RealServer, fmt.Sprintf("a program on UDP port %d", port), func() (*os.File, error) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return nil, fmt.Errorf("open UDP socket: %w", err)
		}
		socket := os.NewFile(uintptr(fd), "program")
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
			return socket, fmt.Errorf("bind it to port %d: %w", port, err)
		}
		go io.Copy(io.Discard, socket)
		return socket, nil
	})
}

// noFOU takes it away again, for whichever address it is.
func noFOU(port string) lab.Step {
	del := func(local ...string) lab.Step {
		s := run(lab.RealServer, append([]string{"ip", "fou", "del", "port", port}, local...)...)
		return unless("kernel doesn't support", unless("Invalid", unless("No such", s)))
	}
	all := del()
	return lab.Step{What: all.What, Do: func(ctx context.Context, l *lab.Lab) error {
		return errors.Join(all.Do(ctx, l), del("local", lab.VIP.String()).Do(ctx, l), del("local", lab.RealServerAddr.String()).Do(ctx, l))
	}}
}
