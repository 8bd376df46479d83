# worker NAME waits in a node that is saved. When the node goes on it does what is asked for without starting a process:
# that is what software emulation is slowest at, and the slower the first time. It reads lines from the virtio port of that name,
#
#   ID VERB WORD…
#
# and answers each with a line, ID "done" or "failed" BYTES, and so many bytes: what it has to say. The verbs are
#
#   clock SECONDS NANOSECONDS       set the clock; says what it shows then, the same way
#   random HEX                      mix these bytes into what the kernel draws at random from
#   take FILTER MAC…                take frames at the NICs with these addresses, those that the filter lets through: classic BPF, in hex
#   taken                           says what was taken since it was last said: a line with the worker's process, then pcapng, in pieces
#   send FROM TO PORT BYTES TEXT    send a UDP datagram of so many bytes from one IP address, in hex, to the other: TEXT, then spaces
#   chronyd HEX                     ask chronyd, by a packet as chronyc sends; says its answer, in hex
#   end                             it ends, as it does by itself a quarter of an hour after it was started, or five minutes after it last sent
#
# Perl's modules, strict, warnings and glob among them, would take longer to load than it takes: structures and
# numbers are those of x86_64, and the tests run it with strict and warnings.
# Sources: clock_settime(2), ip(7), ipv6(7), packet(7), socket(7), unix(7), linux/filter.h; draft-ietf-opsawg-pcapng.

my ($boots, $proves) = (900, 300); # seconds: how long others take to boot, and how long a proof takes at the most
my $ends;
my ($clock_settime, $clock_gettime) = (227, 228);
my $timespec = 'q2';
my ($af_unix, $af_inet, $af_inet6, $af_packet, $sock_dgram, $sock_raw) = (1, 2, 10, 17, 2, 3);
my ($sol_socket, $so_attach_filter, $so_rcvbufforce, $msg_dontwait) = (1, 26, 33, 64);
my ($sol_packet, $packet_add_membership, $packet_mr_promisc, $eth_p_all) = (263, 1, 1, 3);
my $chrony = '/run/chrony'; # the folder of chronyd's socket, and of those who ask it

my @nics;         # where frames are taken, in the order they were asked for
my $taken = '';   # what is to be said of it
my $most = 1 << 20; # bytes of it at once

sub at { # struct sockaddr_in or sockaddr_in6
	my ($address, $port) = (pack('H*', shift), shift);
	return length $address == 4 ? pack 'S n a4 x8', $af_inet, $port, $address : pack 'S n x4 a16 x4', $af_inet6, $port, $address;
}

sub un { return pack 'S a*', $af_unix, shift } # struct sockaddr_un

sub names { # of what is in a folder
	opendir my $dir, shift or return;
	return grep { !/^\./ } readdir $dir;
}

sub line {
	open my $file, '<', shift or return '';
	chomp(my $line = <$file> // '');
	return $line;
}

sub block { # of pcapng
	my ($type, $body) = @_;
	my $length = 12 + length $body;
	return pack 'V V a* V', $type, $length, $body, $length;
}

my %do = (
	clock => sub {
		my $time = pack $timespec, @_;
		syscall($clock_settime, 0, $time) == 0 && syscall($clock_gettime, 0, $time) == 0 or die "$!\n";
		return join ' ', unpack $timespec, $time;
	},
	random => sub {
		open my $pool, '>:raw', '/dev/urandom' or die "$!\n";
		print $pool pack 'H*', @_;
		return '';
	},
	take => sub {
		my $filter = pack 'H*', shift; # of struct sock_filter
		my $sys = '/sys/class/net';
		my %link = map { line("$sys/$_/address") => line("$sys/$_/ifindex") } names($sys);
		@nics = ();
		for my $mac (@_) {
			socket my $nic, $af_packet, $sock_raw, 0 or die "$!\n";
			setsockopt $nic, $sol_socket, $so_rcvbufforce, pack 'l', 4 << 20 or die "$!\n";
			setsockopt $nic, $sol_socket, $so_attach_filter, pack 'S x6 P', length($filter) / 8, $filter or die "filter: $!\n";
			my $link = $link{$mac} || die "no NIC has the address $mac\n";
			setsockopt $nic, $sol_packet, $packet_add_membership, pack 'l S x10', $link, $packet_mr_promisc or die "$mac: $!\n";
			bind $nic, pack 'S n l x12', $af_packet, $eth_p_all, $link or die "$mac: $!\n";
			push @nics, $nic;
		}
		$taken = "$$\n" . block(0x0a0d0d0a, pack 'V v v q', 0x1a2b3c4d, 1, 0, -1) . block(1, pack 'v v V', 1, 0, 0) x @nics;
		return '';
	},
	taken => sub {
		for my $k (0 .. $#nics) {
			while (length $taken < $most && defined recv $nics[$k], my $frame, 1 << 17, $msg_dontwait) {
				my $length = length $frame;
				$taken .= block(6, pack 'V5 a' . (($length + 3) & ~3), $k, 0, 0, $length, $length, $frame);
			}
		}
		return substr $taken, 0, length $taken, '';
	},
	send => sub {
		alarm $proves;
		my ($from, $to, $port, $bytes, @text) = @_;
		socket my $socket, length $to == 8 ? $af_inet : $af_inet6, $sock_dgram, 0 or die "$!\n";
		bind $socket, at($from, 0) or die "from $from: $!\n";
		send $socket, pack("A$bytes", "@text"), 0, at($to, $port) or die "to $to: $!\n";
		return '';
	},
	chronyd => sub {
		my ($packet, $mine, $answer) = (pack('H*', shift), "$chrony/labctl.$$.sock");
		socket my $socket, $af_unix, $sock_dgram, 0 or die "$!\n";
		bind $socket, un($mine) or die "$mine: $!\n";
		my $answers = eval {
			chmod 0666, $mine or die "$!\n"; # to chronyd, which is not root
			send $socket, $packet, 0, un("$chrony/chronyd.sock") or die "$!\n";
			vec(my $ready = '', fileno $socket, 1) = 1;
			select $ready, undef, undef, 2 and defined recv $socket, $answer, 4096, 0 or die "it does not answer\n";
		};
		my $why = $@;
		unlink $mine;
		die $why if !$answers;
		return unpack 'H*', $answer;
	},
	end => sub { $ends = 1; return '' },
);

sub port {
	my $wanted = shift;
	my $sys = '/sys/class/virtio-ports';
	for (names($sys)) {
		return "/dev/$_" if line("$sys/$_/name") eq $wanted;
	}
	die "no port has the name $wanted\n";
}

alarm $boots;
open my $port, '+<:raw', port(shift) or die "$!\n";
my $asked = '';
while (!$ends) {
	if (!sysread $port, $asked, 65536, length $asked) { # nobody is at the other end
		$asked = '';
		select undef, undef, undef, 0.02;
	}
	while ($asked =~ s/^(.*)\n//) {
		next if $1 eq '';
		my ($id, $verb, @words) = split ' ', $1;
		my $says = eval { ($do{$verb} || die "it does not know how\n")->(@words) };
		my $how = defined $says ? 'done' : 'failed';
		$says //= $@;
		my $answer = "$id $how ${\length $says}\n$says";
		while (length $answer) {
			my $wrote = syswrite $port, $answer or last;
			substr $answer, 0, $wrote, '';
		}
	}
}
