# worker NAME waits in a node that is saved. When the node goes on it does what is asked for without starting a process:
# that is what software emulation is slowest at, and the slower the first time. It reads lines from the virtio port of that name,
#
#   ID VERB WORD…
#
# and answers each with a line, ID "done" or "failed" BYTES, and so many bytes: what it has to say. The verbs are
#
#   clock SECONDS NANOSECONDS       set the clock; says what it shows then, the same way
#   random HEX                      mix these bytes into what the kernel draws at random from
#   send FROM TO PORT BYTES TEXT    send a UDP datagram of so many bytes from one IP address to the other: TEXT, then spaces
#   read FILE OFFSET BYTES          says what is in the file from there on, at most so many bytes
#   drop FILE WORD                  remove the file, and end the process whose number is its first line, if its command holds the word
#   end                             it ends, as it does by itself after five minutes
use strict;
use warnings;
use Socket qw(AF_INET AF_INET6 SOCK_DGRAM inet_pton pack_sockaddr_in pack_sockaddr_in6);

my $ends;
my ($clock_settime, $clock_gettime) = (227, 228); # of x86_64: asm/unistd_64.h
my $timespec = 'q2';

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
	send => sub {
		my ($from, $to, $port, $bytes, @text) = @_;
		my ($family, $at) = $to =~ /:/ ? (AF_INET6, \&pack_sockaddr_in6) : (AF_INET, \&pack_sockaddr_in);
		socket my $socket, $family, SOCK_DGRAM, 0 or die "$!\n";
		bind $socket, $at->(0, inet_pton $family, $from) or die "from $from: $!\n";
		send $socket, pack("A$bytes", "@text"), 0, $at->($port, inet_pton $family, $to) or die "to $to: $!\n";
		return '';
	},
	read => sub {
		my ($path, $offset, $bytes) = @_;
		open my $file, '<:raw', $path or die "$!\n";
		seek $file, $offset, 0 or die "$!\n";
		defined sysread $file, my $text, $bytes or die "$!\n";
		return $text;
	},
	drop => sub {
		my ($path, $word) = @_;
		open my $file, '<', $path or die "$!\n";
		if ((<$file> // '') =~ /^([1-9][0-9]*)$/ && open my $command, '<', "/proc/$1/cmdline") {
			kill 'TERM', $1 if index(<$command> // '', $word) >= 0;
		}
		unlink $path or die "$!\n";
		return '';
	},
	end => sub { $ends = 1; return '' },
);

sub port {
	my $wanted = shift;
	for my $sys (glob '/sys/class/virtio-ports/*') {
		open my $name, '<', "$sys/name" or next;
		chomp(my $is = <$name> // '');
		return '/dev/' . $sys =~ s~.*/~~r if $is eq $wanted;
	}
	die "no port has the name $wanted\n";
}

alarm 300;
open my $port, '+<:raw', port(shift) or die "$!\n";
my $asked = '';
while (!$ends) {
	if (!sysread $port, $asked, 65536, length $asked) { # nobody is at the other end
		$asked = '';
		select undef, undef, undef, 0.02;
	}
	while ($asked =~ s/^(.*)\n//) {
		my ($id, $verb, @words) = split ' ', $1;
		my $says = eval { $do{$verb}->(@words) };
		my $how = defined $says ? 'done' : 'failed';
		$says //= $@;
		my $answer = "$id $how ${\length $says}\n$says";
		while (length $answer) {
			my $wrote = syswrite $port, $answer or last;
			substr $answer, 0, $wrote, '';
		}
	}
}
